"""Print the table of docs/export.md: one graph for images of every size, of networks at their real size.

    python benchmarks/export_table.py [NAME ...]

Needs onnx, onnxruntime and onnxscript. Takes minutes: every network is exported, translated and compiled.
"""
import argparse

import torch

from mmbackbones.bench.one_graph import try_one_graph
from mmbackbones.catalogue import find_backbone
from mmbackbones.registry import MODELS

NAMES = ('odconv_r18', 'swin_t', 'pvt_s', 'dsnet_t', 'conv2former_n', 'dogenet26', 'coatnet0', 'botnet50', 'vit_b16')
# (N, H, W) of images: as it is exported; as the exported forms are run; as the compiled form is run
EXPORTED = 2, 224, 256
RUN = (1, 113, 97), (2, 256, 192), (3, 225, 199)
COMPILED = [(2, height, width)
            for height, width in ((128, 160), (97, 113), (111, 200), (128, 128), (130, 150), (101, 97), (160, 225),
                                  (224, 224), (160, 112), (199, 101), (256, 128), (225, 257), (168, 240))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', default=NAMES, metavar='NAME', help='rows of the catalogue')
    print('| network | `torch.export` | ONNX | `torch.compile` | float64 | graphs |')
    print('|-|-|-|-|-|-|')
    for name in parser.parse_args().names:
        torch.manual_seed(0)
        row = find_backbone(name)
        dynamic = row.family != 'ODConv'
        found = try_one_graph(MODELS.build(row.config).eval(), EXPORTED, RUN, COMPILED, onnx_batch=dynamic)
        figures = ' | '.join(f'{figure:.1e}' for figure in found[:4])
        print(f'| {name} | {figures} | {found.graphs} of {len(COMPILED)} sizes |', flush=True)


if __name__ == '__main__':
    main()
