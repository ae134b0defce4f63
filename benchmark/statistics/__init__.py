"""Accuracies, robustness ratios and what may be said of them, with intervals. Pure: arrays in, numbers out.

``correct`` is bool (S, N): seeds by clips; the clips are the same for all seeds. An accuracy is the mean over both, and
the robustness ratio of a group of seeds is the ratio of the mean accuracies, rr = T / V. Many submissions at once are
(M, S, N). One module a question:

    moments    variances when seeds and clips are two crossed factors; everything rests on them
    ratios     accuracy, rr, T / S1, chance-corrected rr; one or many at once
    rules      is V above guessing? does T / V deserve the paper's asterisk?
    paired     two models, or every two of many, on the same clips
    ranking    rank intervals and tie groups
    bootstrap  the alternative interval of a ratio
    effective  effective robustness over a set of models
    power      what difference can be seen, and how many clips that takes
    measured   the same for two given models
    published  intervals of printed numbers
"""

from benchmark.statistics.bootstrap import bootstrap_difference, bootstrap_ratio, bootstrap_ratio_of_ratios
from benchmark.statistics.effective import (
    EffectiveRobustness,
    LogitPair,
    effective_robustness,
    effective_robustness_of_all,
    logit_pair,
    published_logit_pair,
)
from benchmark.statistics.estimate import CLIPS, SEEDS_AND_CLIPS, Correct, Estimate, Estimates
from benchmark.statistics.measured import detectable_difference, detectable_ratio
from benchmark.statistics.moments import shared_clips
from benchmark.statistics.paired import (
    Comparison,
    Pairwise,
    compare_accuracies,
    compare_ratios,
    mcnemar,
    pairwise_accuracies,
    pairwise_ratios,
)
from benchmark.statistics.power import clips_needed, minimum_detectable_difference, minimum_detectable_ratio
from benchmark.statistics.published import published_accuracy, published_ratio
from benchmark.statistics.ranking import holm, letters, rank_intervals, surely_better, tie_groups, tie_runs
from benchmark.statistics.ratios import (
    accuracies,
    accuracy,
    chance_corrected,
    chance_corrected_ratio,
    majority_share,
    prior_share,
    prior_top_share,
    robustness_ratio,
    robustness_ratios,
    target_ratio,
    target_ratios,
)
from benchmark.statistics.rules import above_guessing, asterisk
from tsgen.common.intervals import clopper_pearson

__all__ = [
    "CLIPS",
    "SEEDS_AND_CLIPS",
    "Comparison",
    "Correct",
    "EffectiveRobustness",
    "Estimate",
    "Estimates",
    "LogitPair",
    "Pairwise",
    "above_guessing",
    "accuracies",
    "accuracy",
    "asterisk",
    "bootstrap_difference",
    "bootstrap_ratio",
    "bootstrap_ratio_of_ratios",
    "chance_corrected",
    "chance_corrected_ratio",
    "clips_needed",
    "clopper_pearson",
    "compare_accuracies",
    "compare_ratios",
    "detectable_difference",
    "detectable_ratio",
    "effective_robustness",
    "effective_robustness_of_all",
    "holm",
    "letters",
    "logit_pair",
    "majority_share",
    "mcnemar",
    "minimum_detectable_difference",
    "minimum_detectable_ratio",
    "pairwise_accuracies",
    "pairwise_ratios",
    "prior_share",
    "prior_top_share",
    "published_accuracy",
    "published_logit_pair",
    "published_ratio",
    "rank_intervals",
    "robustness_ratio",
    "robustness_ratios",
    "shared_clips",
    "surely_better",
    "target_ratio",
    "target_ratios",
    "tie_groups",
    "tie_runs",
]
