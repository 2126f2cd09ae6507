"""Which groups decide a node's size: decoded from the sizes themselves, with no map from nodes to layers.

A tensor's element count is affine in the group widths with non-negative integer coefficients and few of them,
so non-negative least squares recovers them exactly, even from fewer variants than groups (for why
non-negativity alone promotes sparsity: Slawski and Hein, "Non-negative least squares for high-dimensional
linear models", 2013). Runtimes that pad channels to blocks report padded tensors: then the size is affine in
the widths rounded up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from deploy_prune.errors import InputError

Floats = npt.NDArray[np.float64]

# Channel blocks that runtimes pad to (NCHWc layouts of 4 to 32; 1 is no padding), tried in this order.
_BLOCKS = (1, 16, 8, 4, 32)
# A rounding certificate means nothing unless some observations are left over to contradict it.
_SPARE_OBSERVATIONS = 2
# A tensor padded as a whole (a concatenation rounded up to 16) keeps within this relative standard deviation
# of the unpadded one; unrelated tensors differ by the spread of the widths, 0.2 and more.
_NEAR = 0.1


@dataclass(frozen=True)
class AffineSize:
    """Elements of a tensor: ``constant + sum of coefficients[g] * (width of g, rounded up to block)``.

    ``exact`` says that every observation was reproduced to the integer. Otherwise this is the decoded tensor
    that the size follows most nearly, scaled, or the mean seen and no coefficients.
    """

    constant: float
    coefficients: Mapping[str, float]
    block: int = 1
    exact: bool = True

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that the size depends on."""
        return tuple(self.coefficients)

    def term(self, group: str, widths: npt.ArrayLike) -> Floats:
        """The share of ``group`` in the size, for an array of its widths (same shape)."""
        padded = -(-np.asarray(widths, dtype=float) // self.block) * self.block
        return self.coefficients[group] * padded

    def at(self, widths: Mapping[str, int]) -> float:
        """Elements at these widths."""
        return self.constant + float(sum(self.term(g, widths[g]) for g in self.coefficients))


class SizeDecoder:
    """Decodes size vectors against the widths of the profiled variants (one row each).

    Raises ``InputError`` when a variant does not give the width of every group.
    """

    def __init__(self, variants: Sequence[Mapping[str, int]], groups: Sequence[str]) -> None:
        for index, widths in enumerate(variants):
            missing = [g for g in groups if g not in widths]
            if missing:
                raise InputError(f"variant {index} gives no width for group {missing[0]!r}; give all {len(groups)}")
        self.groups = tuple(groups)
        self.widths: Floats = np.array([[w[g] for g in groups] for w in variants], dtype=float)
        self._known: dict[tuple[bytes, bytes], AffineSize] = {}

    def decode(self, sizes: npt.NDArray[np.int64], rows: npt.NDArray[np.intp]) -> AffineSize:
        """The size of a node seen in the variants ``rows`` with element counts ``sizes``, both (seen,)."""
        key = (sizes.tobytes(), rows.tobytes())
        if key not in self._known:
            self._known[key] = self._decode(sizes, rows)
        return self._known[key]

    def _decode(self, sizes: npt.NDArray[np.int64], rows: npt.NDArray[np.intp]) -> AffineSize:
        if np.all(sizes == sizes[0]):
            return AffineSize(float(sizes[0]), {})
        for block in _BLOCKS:
            found = self._decode_block(sizes, self.widths[rows], block)
            if found is not None:
                return found
        return AffineSize(float(np.mean(sizes)), {}, exact=False)

    def decode_near(self, sizes: npt.NDArray[np.int64], rows: npt.NDArray[np.intp]) -> AffineSize:
        """Like ``decode``, but what is not affine follows the nearest tensor decoded before."""
        own = self.decode(sizes, rows)
        exact = [size for size in self._known.values() if size.exact and size.coefficients]
        if own.exact or not exact:
            return own
        ratios = np.array([sizes / self.at_variants(size)[rows] for size in exact])
        spreads = ratios.std(axis=1) / ratios.mean(axis=1)
        best = int(np.argmin(spreads))
        if spreads[best] > _NEAR:
            return own
        ratio, near = float(ratios[best].mean()), exact[best]
        coefficients = {g: c * ratio for g, c in near.coefficients.items()}
        return AffineSize(near.constant * ratio, coefficients, near.block, exact=False)

    def at_variants(self, size: AffineSize) -> Floats:
        """Elements of a decoded tensor in every variant, shape (variants,)."""
        elements = np.full(len(self.widths), size.constant)
        for group in size.groups:
            elements += size.term(group, self.widths[:, self.groups.index(group)])
        return elements

    def _decode_block(self, sizes: npt.NDArray[np.int64], widths: Floats, block: int) -> AffineSize | None:
        padded = -(-widths // block) * block
        varying = np.flatnonzero(np.ptp(padded, axis=0) > 0)
        columns = np.column_stack([np.ones(len(sizes)), padded[:, varying]])
        norms = np.linalg.norm(columns, axis=0)
        scale = float(sizes.max())
        try:
            solution, _ = nnls(columns / norms, sizes / scale)
        except RuntimeError:  # no convergence: nothing was decoded
            return None
        whole = np.rint(solution * scale / norms)
        used = np.flatnonzero(whole[1:])
        if len(sizes) < len(used) + 1 + _SPARE_OBSERVATIONS or np.any(columns @ whole != sizes):
            return None
        coefficients = {self.groups[varying[k]]: float(whole[1 + k]) for k in used}
        return AffineSize(float(whole[0]), coefficients, block)
