"""Is one graph enough for images of every size? Exported, run by onnxruntime, compiled, beside the network itself."""
import copy
from typing import Callable, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn

__all__ = ['OneGraph', 'try_one_graph']

DYNAMIC = torch.export.Dim.DYNAMIC


class OneGraph(NamedTuple):
    """Largest differences from the maps of the network itself, over a map's largest value (1 below that).

    Attributes:
        exported: of the program of ``torch.export``, with a dynamic batch, height and width.
        onnx: of its translation, run by onnxruntime.
        compiled: of ``torch.compile`` without a break.
        rounding: of the network itself in float64: how far float32 alone is off. Random weights can amplify it; then
            no two forms in float32 agree more closely.
        graphs: how many of them ``torch.compile`` made.
    """
    exported: float
    onnx: float
    compiled: float
    rounding: float
    graphs: int


def _difference(maps: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    torch.testing.assert_close([each.shape for each in others], [each.shape for each in maps])
    return max((ours - theirs).abs().max().item() / max(1,
                                                        ours.abs().max().item()) for ours, theirs in zip(maps, others))


@torch.no_grad()
def try_one_graph(backbone: nn.Module,
                  export_size: Tuple[int, int, int],
                  run_sizes: Sequence[Tuple[int, int, int]],
                  compile_sizes: Sequence[Tuple[int, int, int]],
                  onnx_batch: bool = True,
                  simplify: bool = True) -> OneGraph:
    """Make graphs of a backbone and run them at many sizes.

    Args:
        backbone: in evaluation.
        export_size: (N, H, W) of the images that it is exported with.
        run_sizes: of those that the two exported forms are run with.
        compile_sizes: of those that the compiled form is run with, in this order.
        onnx_batch: whether the batch is dynamic in ONNX; if not, it stays that of ``export_size``.
        simplify: have the translation simplified, as torch does by default, which takes as long as the translation.

    Raises:
        AssertionError: maps of another size.
        Exception: whatever torch or onnxruntime raises where a graph cannot be made or run.
    """
    import onnxruntime

    def draw(batch, height, width):
        return torch.randn(batch, 3, height, width)

    def worst(run: Callable[[Tensor], Sequence[Tensor]], sizes) -> float:
        images = [draw(*size) for size in sizes]
        return max(_difference(backbone(x), run(x)) for x in images)

    example = draw(*export_size),
    program = torch.export.export(backbone, example, dynamic_shapes=({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC}, ))
    exported = worst(program.module(), run_sizes)

    if onnx_batch:
        onnx = torch.onnx.export(program, dynamo=True, verbose=False, optimize=simplify)
    else:
        onnx = torch.onnx.export(
            backbone,
            example,
            dynamo=True,
            dynamic_shapes=({
                2: DYNAMIC,
                3: DYNAMIC
            }, ),
            verbose=False,
            optimize=simplify)
        run_sizes = [(export_size[0], *size) for _, *size in run_sizes]
    session = onnxruntime.InferenceSession(onnx.model_proto.SerializeToString(), providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name

    def run_session(x: Tensor) -> List[Tensor]:
        return [torch.from_numpy(each) for each in session.run(None, {name: x.numpy()})]

    graphs = 0

    def count(graph: torch.fx.GraphModule, _: Sequence[Tensor]) -> Callable:
        nonlocal graphs
        graphs += 1
        return graph.forward

    torch._dynamo.reset()  # its limit of recompilations counts those of other networks
    compiled = torch.compile(backbone, fullgraph=True, backend=count)
    to_onnx, to_compiled = worst(run_session, run_sizes), worst(compiled, compile_sizes)
    exact = copy.deepcopy(backbone).double()
    rounding = worst(lambda x: [each.float() for each in exact(x.double())], run_sizes)
    return OneGraph(exported, to_onnx, to_compiled, rounding, graphs)
