"""What only a GPU can show: CUDA gives what the CPU does. `benchmarks/gpu.sh setup tests` runs this on one."""
import pytest
import torch
from cases import SMALLEST, build_small
from torch.testing import assert_close

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs an NVIDIA GPU; benchmarks/gpu.sh runs it where there is one')

# relative to the largest value; in float32 sums differ in their order, and a ReLU may open on one device alone
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-2}


@pytest.fixture(autouse=True)
def exact_products():
    """Convolutions of float32 in float32: by itself cuDNN rounds their factors to 10 bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def assert_near(cuda, cpu, what):
    largest = cpu.abs().max().item() or 1.
    assert_close(
        cuda.cpu(),
        cpu,
        rtol=0,
        atol=TOLERANCES[cpu.dtype] * largest,
        msg=lambda text: f'{what}, largest value {largest}: {text}')


def both(function, inputs):
    """Values and gradients of a function on the CPU, and on the GPU; the inputs that are floating get gradients."""
    results = []
    for device in ('cpu', 'cuda'):
        leaves = [each.to(device).detach().requires_grad_(each.is_floating_point()) for each in inputs]
        output = function(*leaves)
        output.backward(torch.linspace(-1, 1, output.numel(), dtype=output.dtype, device=device).view_as(output))
        results.append([output.detach(), *(each.grad for each in leaves if each.grad is not None)])
    return results


def assert_same_on_both(function, *inputs):
    cpu, cuda = both(function, inputs)
    assert len(cpu) == len(cuda)
    for index, (a, b) in enumerate(zip(cuda, cpu)):
        assert_near(a, b, f'gradient {index}' if index else 'value')


def random_boxes(count, size):
    centres, sides = torch.rand(count, 2) * size, torch.rand(count, 2) * size / 2 + 1
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


@pytest.mark.parametrize('pool_mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_of_mmcv(pool_mode, aligned):
    from mmcv.ops import roi_align
    torch.manual_seed(0)
    maps = torch.randn(2, 8, 40, 50, dtype=torch.float64)
    rois = torch.cat([torch.randint(0, 2, (30, 1)), random_boxes(30, 400)], 1).double()
    assert_same_on_both(
        lambda x: roi_align(x, rois.to(x), 7, 1 / 8, 0 if pool_mode == 'avg' else 2, pool_mode, aligned), maps)


def test_nms_of_mmcv():
    from mmcv.ops import batched_nms, nms
    torch.manual_seed(0)
    boxes, scores, labels = random_boxes(2000, 500), torch.rand(2000), torch.randint(0, 10, (2000, ))
    for threshold in (0.3, 0.7):
        kept = [nms(boxes.to(device), scores.to(device), threshold)[1].cpu() for device in ('cpu', 'cuda')]
        assert torch.equal(*kept) and 0 < len(kept[0]) < 2000
        config = dict(type='nms', iou_threshold=threshold)
        kept = [
            batched_nms(boxes.to(device), scores.to(device), labels.to(device), config)[1].cpu()
            for device in ('cpu', 'cuda')
        ]
        assert torch.equal(*kept) and 0 < len(kept[0]) < 2000


@pytest.mark.parametrize('stride,dilation,groups', [(1, 1, 1), (2, 1, 2), (1, 2, 1)])
def test_deformable_convolutions_of_mmcv(stride, dilation, groups):
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d
    torch.manual_seed(0)
    x = torch.randn(2, 8, 20, 24, dtype=torch.float64)
    weight = torch.randn(12, 8 // groups, 3, 3, dtype=torch.float64)
    height, width = (len(range(0, side, stride)) for side in x.shape[2:])
    offset = torch.randn(2, 2 * 2 * 9, height, width, dtype=torch.float64) * 2  # two groups of offsets
    mask = torch.rand(2, 2 * 9, height, width, dtype=torch.float64)
    bias = torch.randn(12, dtype=torch.float64)
    assert_same_on_both(lambda *t: deform_conv2d(*t, stride, dilation, dilation, groups, 2), x, offset, weight)
    assert_same_on_both(lambda *t: modulated_deform_conv2d(*t, stride, dilation, dilation, groups, 2), x, offset, mask,
                        weight, bias)


@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('name', SMALLEST)
def test_backbones_give_the_maps_and_gradients_of_the_cpu(name, dtype):
    torch.manual_seed(0)
    backbone = build_small(name).to(dtype).eval()  # evaluation: nothing is dropped at random
    images = torch.randn(2, 3, 96, 80, dtype=dtype)
    results = []
    for device in ('cpu', 'cuda'):
        backbone = backbone.to(device)
        backbone.zero_grad()
        maps = backbone(images.to(device))
        torch.autograd.backward(maps, [
            torch.linspace(-1, 1, each.numel(), dtype=dtype, device=device).view_as(each) / each.numel()**0.5
            for each in maps
        ])
        gradients = {key: value.grad.clone() for key, value in backbone.named_parameters() if value.grad is not None}
        results.append(({str(index): each.detach() for index, each in enumerate(maps)}, gradients))
    for what, cpu, cuda in zip(('map', 'gradient of'), *results):
        assert cpu.keys() == cuda.keys() and cpu
        for key in cpu:
            assert_near(cuda[key], cpu[key], f'{what} {key}')
