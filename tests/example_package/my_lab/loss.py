"""Our loss with columns' errors counted half: as `stemdefects.training.losses.sums` takes and gives."""

from stemdefects.training.losses import sums


def calm(outputs, targets, mask, class_weight):
    parts = sums(outputs, targets, mask, class_weight)
    return parts._replace(offset=0.5 * parts.offset)
