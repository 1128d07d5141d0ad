"""A model of no family that prune_ssl knows."""

from torch import nn


class Custom(nn.Module):
    """Convolutions, a Transformer of torch, a classifier."""

    def __init__(self, activation="gelu"):
        super().__init__()
        self.frontend = nn.Sequential(
            *(nn.Conv1d(1, 8, 10, 5), nn.GroupNorm(8, 8), nn.GELU()),
            *(nn.Conv1d(8, 10, 3, 2, bias=False), nn.BatchNorm1d(10), nn.ReLU()),
            *(nn.Conv1d(10, 6, 3, 2, padding=1), nn.GELU()),
        )
        self.norm = nn.LayerNorm(6)
        self.project = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 24, 0.0, activation, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 3))

    def forward(self, waveform):
        features = self.norm(self.frontend(waveform[:, None]).transpose(1, 2))
        return self.head(self.encoder(self.project(features)))
