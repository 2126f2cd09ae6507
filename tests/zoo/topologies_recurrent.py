"""Recurrent layers over the tokens of an image."""

import torch
from torch import nn
from torch.nn.utils import rnn
from zoo.topologies_parts import Tokens


class Lstm(Tokens):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(16, 12, batch_first=True), nn.Linear(12, 16)

    def mix(self, x):
        return self.out(self.rnn(x)[0])


class DeepLstm(Tokens):
    """Two layers, both directions; the last states go on."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(16, 10, num_layers=2, bidirectional=True)
        self.out = nn.Linear(20, 16)

    def mix(self, x):
        y, (h, _) = self.rnn(x.transpose(0, 1))
        return self.out(y.transpose(0, 1)) + self.out(torch.cat([h[-2], h[-1]], -1))[:, None]


class ProjectedLstm(Tokens):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(16, 12, proj_size=6, batch_first=True), nn.Linear(6, 16)

    def mix(self, x):
        return self.out(self.rnn(x)[0])


class Gru(Tokens):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(16, 12, num_layers=2, batch_first=True, bidirectional=True), nn.Linear(24, 16)

    def mix(self, x):
        return self.out(self.rnn(x)[0])


class PlainRnn(Tokens):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.RNN(16, 12, batch_first=True), nn.Linear(12, 16)

    def mix(self, x):
        return self.out(self.rnn(x)[0])


class Cells(Tokens):
    """Cells called step by step, from a state that the model makes."""

    def __init__(self):
        super().__init__()
        self.lstm, self.gru, self.out = nn.LSTMCell(16, 12), nn.GRUCell(12, 10), nn.Linear(10, 16)

    def mix(self, x):
        state, h, steps = None, None, []
        for token in x.unbind(1):
            state = self.lstm(token, state)
            h = self.gru(state[0], h)
            steps.append(self.out(h))
        return torch.stack(steps, 1)


class PackedLstm(Tokens):
    """Sequences of unequal lengths in one axis, and back."""

    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(16, 12, num_layers=2, batch_first=True, bidirectional=True), nn.Linear(24, 16)

    def mix(self, x):
        lengths = [x.shape[1] - 5 * k for k in range(len(x))]
        packed, _ = self.rnn(rnn.pack_padded_sequence(x, lengths, batch_first=True))
        return self.out(rnn.pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0])


BODIES = (Lstm, DeepLstm, ProjectedLstm, Gru, PlainRnn, Cells, PackedLstm)
