"""Attention in which keys that the queries cannot tell apart are one: meta-keys of the far past, within a budget of nats.

Read `meta_keys` (what merging costs, and the bound), `tree` (what is merged), `cover` (who sees what), `attending`.
"""

from rgprobe.models.attention.condensed.attending import check_condensable, condense_any, condensed_attend
from rgprobe.models.attention.condensed.meta_keys import divergence_bound
from rgprobe.models.attention.condensed.options import Condensation

__all__ = ["Condensation", "check_condensable", "condense_any", "condensed_attend", "divergence_bound"]
