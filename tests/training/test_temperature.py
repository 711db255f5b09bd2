"""The temperature of the attentions over a training run."""
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmbackbones.hooks import TemperatureAnnealingHook
from mmbackbones.layers import CondConv2d, ODConv2d


class Classifier(BaseModel):
    """A dynamic convolution with a loss, which notes the temperature of every step."""

    def __init__(self, conv=ODConv2d):
        super().__init__()
        self.conv = conv(3, 4, 3, kernel_num=2)
        self.seen = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.seen.append({b.item() for n, b in self.conv.named_buffers() if n.endswith('temperature')})
        return dict(loss=self.conv(inputs).square().mean())


def run(work_dir, epochs, model=None, custom_hooks=(), **kwargs):
    model = model or Classifier()
    runner = Runner(
        model,
        str(work_dir),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.randn(3, 32, 32)) for _ in range(8)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=2,
            collate_fn=dict(type='default_collate'),
            num_workers=0),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        custom_hooks=[dict(type='mmbackbones.TemperatureAnnealingHook', start=9, end=1, epochs=2), *custom_hooks],
        experiment_name=f'{work_dir.name}_{epochs}_{kwargs}',
        **kwargs)
    runner.train()
    return model


def temperatures(state_dict):
    return {value.item() for key, value in state_dict.items() if key.endswith('temperature')}


def test_falls_linearly_by_iteration_and_stays_and_survives_a_resume(tmp_path):
    # 4 iterations an epoch, 9 to 1 in 8 iterations
    expected = [{9.}, {8.}, {7.}, {6.}, {5.}, {4.}, {3.}, {2.}, {1.}, {1.}, {1.}, {1.}]
    assert run(tmp_path / 'whole', 3).seen == expected
    run(tmp_path / 'parts', 1)
    saved = torch.load(tmp_path / 'parts' / 'epoch_1.pth', weights_only=False)['state_dict']
    assert temperatures(saved) == {6.}
    assert run(tmp_path / 'parts', 3, resume=True).seen == expected[4:]


@pytest.mark.parametrize('update_buffers', [False, True])
def test_an_averaged_model_has_the_temperature_of_the_model(tmp_path, update_buffers):
    ema = dict(type='EMAHook', momentum=1e-4, update_buffers=update_buffers)
    run(tmp_path, 3, custom_hooks=[ema])
    # the averaged weights are what is deployed: the checkpoint has them as its state_dict
    for epoch, expected in ((1, 6.), (3, 1.)):
        saved = torch.load(tmp_path / f'epoch_{epoch}.pth', weights_only=False)
        assert temperatures(saved['state_dict']) == temperatures(saved['ema_state_dict']) == {expected}
    # as versions before this wrote it
    for key, value in saved['state_dict'].items():
        if key.endswith('temperature'):
            value.fill_(8.9)
    torch.save(saved, tmp_path / 'epoch_3.pth')
    assert run(tmp_path, 4, custom_hooks=[ema], resume=True).seen == [{1.}] * 4
    saved = torch.load(tmp_path / 'epoch_4.pth', weights_only=False)
    assert temperatures(saved['state_dict']) == temperatures(saved['ema_state_dict']) == {1.}


def test_says_when_there_is_nothing_to_anneal(tmp_path):
    with pytest.raises(ValueError, match='no layer with a temperature'):
        run(tmp_path, 1, Classifier(CondConv2d))
    with pytest.raises(ValueError, match='must be above 0'):
        TemperatureAnnealingHook(epochs=0)
