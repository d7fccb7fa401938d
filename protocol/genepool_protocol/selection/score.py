"""What stage B says of one mixture; without torch, so that reading an answer needs none."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """What one mixture's features are worth on the support set.

    Attributes:
        knn: leave-one-out accuracy of cosine nearest neighbours.
        lda: accuracy of the closed-form head (`discriminant`), leave-one-out.
        logme: log maximum evidence (You et al. 2021), per image and class.
        errors: squared error of that head's probabilities on each held-out image, shape (N,); the guard compares these.
            Empty when nothing can be left out (see `support.can_leave_out`): knn and lda then are 0.
    """

    knn: float
    lda: float
    logme: float
    errors: tuple[float, ...]
