"""Dynamic convolution as equation 2 of the ODConv paper writes it, one sample and one kernel at a time."""
import torch
import torch.nn.functional as F


def dynamic_conv2d(x, weight, attentions, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Same arguments and result as ``mmbackbones.layers.dynamic_conv2d``."""
    channel, filter_, spatial, kernel = attentions
    num_kernels, out_channels, group_channels, height, width = weight.shape
    outputs = []
    for n in range(len(x)):
        mixed_kernel = torch.zeros_like(weight[0])
        mixed_bias = 0
        for i in range(num_kernels):
            alpha_w = 1 if kernel is None else kernel[n, i]
            alpha_f = 1 if filter_ is None else filter_[n].view(out_channels, 1, 1, 1)
            alpha_s = 1 if spatial is None else spatial[n].view(1, 1, height, width)
            alpha_c = 1
            if channel is not None:
                # output filter o is in group o // (out_channels / groups) and sees that group's input channels
                of_group = channel[n].view(groups, group_channels)
                alpha_c = of_group.repeat_interleave(out_channels // groups, 0).view(out_channels, group_channels, 1, 1)
            mixed_kernel = mixed_kernel + alpha_w * alpha_f * alpha_c * alpha_s * weight[i]
            if bias is not None:
                mixed_bias = mixed_bias + alpha_w * bias[i]
        y = F.conv2d(x[n:n + 1], mixed_kernel, None, stride, padding, dilation, groups)
        outputs.append(y if bias is None else y + mixed_bias.view(1, -1, 1, 1))
    return torch.cat(outputs)
