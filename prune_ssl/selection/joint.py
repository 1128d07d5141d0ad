"""Joint costs: the values of all limits and their slopes in all widths, by a few operations on a GPU."""

from collections.abc import Sequence

import torch

from prune_ssl.selection.costs import PolynomialCost
from prune_ssl.selection.limits import Limit
from prune_ssl.tracing.cost import widest


class JointCosts:
    """The costs of some limits, of the dense cost, with their derivatives.

    A polynomial cost is a sum of products of widths. Each product is padded with a width of 1 to the same
    number of factors, n. The derivatives are then one product of a matrix with the products of the other
    factors, and the value is the sum of all widths times their derivatives, over n.
    """

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self.limits = limits
        self.polynomials = tuple(
            limit.cost for limit in self.limits if isinstance(limit.cost, PolynomialCost)
        )
        self.whole = len(self.polynomials) == len(self.limits) > 0
        if self.whole:
            self._prepare()

    def _prepare(self) -> None:
        groups = self.polynomials[0].polynomial.groups
        number = {name: index for index, name in enumerate(groups)}
        names = list(
            dict.fromkeys(each for cost in self.polynomials for each in cost.polynomial.coefficients)
        )
        self.degree = max([1, *map(len, names)])
        rows = [[number[name] for name in term] + [len(groups)] * (self.degree - len(term)) for term in names]
        others = [[row[:place] + row[place + 1 :] for place in range(self.degree)] for row in rows]
        size = len(groups) + 1
        matrix = torch.zeros(len(self.limits), size, len(rows), self.degree, dtype=torch.float64)
        self.constants: list[float] = []
        for which, (limit, cost) in enumerate(zip(self.limits, self.polynomials, strict=True)):
            self.constants.append(cost.constant / limit.dense)
            for term, row in enumerate(rows):
                amount = cost.polynomial.coefficients.get(names[term], 0) * cost.factor / limit.dense
                for place, group in enumerate(row):
                    matrix[which, group, term, place] += amount
        self.matrix = matrix.flatten(2).flatten(0, 1)
        self.others = torch.tensor(others, dtype=torch.long).view(len(rows) * self.degree, self.degree - 1)
        self.one = torch.ones(1, dtype=torch.float64)

    def __call__(self, counts: torch.Tensor, goals: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the costs less their goals (limits,), and the derivatives of the costs (limits, groups).

        Both are of `widest`, and without a gradient.

        Args:
            counts: the expected number of open units of every group, (groups,).
            goals: a part of the dense cost for each limit.
        """
        if not self.whole:
            costs, slopes = self._by_autograd(counts)
            return costs - _filled(goals, costs), slopes
        if self.others.device != counts.device:
            self.others = self.others.to(counts.device)
            self.matrix, self.one = widest_to(self.matrix, counts), widest_to(self.one, counts)
        widths = torch.cat([counts.detach(), self.one])
        if self.degree == 1:
            factors = widths.new_ones(len(self.others))
        else:
            factors = widths[self.others]
            factors = factors.prod(1) if self.degree > 2 else factors.flatten()
        slopes = (self.matrix @ factors).view(len(self.limits), -1)
        less = [constant - goal for constant, goal in zip(self.constants, goals, strict=True)]
        return torch.add(_filled(less, widths), slopes @ widths, alpha=1 / self.degree), slopes[:, :-1]

    def _by_autograd(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            widths = widest(counts.detach()).requires_grad_()
            values = [limit.cost.expected(widths) / limit.dense for limit in self.limits]
            slopes = [torch.autograd.grad(each, widths, retain_graph=True)[0] for each in values]
        return torch.stack(values).detach(), torch.stack(slopes)


def _filled(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """Return values as (values,), filled on the device: to copy them there, the host would wait."""
    if len(values) == 1:
        return like.new_full((1,), values[0])
    return torch.stack([like.new_full((), each) for each in values])


def widest_to(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return values on the device of `like`, in the widest dtype that it has."""
    return values.to(like.device, torch.float32 if like.device.type == "mps" else torch.float64)
