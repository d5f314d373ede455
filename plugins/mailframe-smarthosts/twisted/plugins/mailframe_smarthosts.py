"""What this distribution offers to mailframe; only names, so that nothing heavy is imported."""

from mailframe.plugin import Part

smarthosts = Part(
    seam="routing",
    name="smarthosts",
    help="mail for other domains through several smarthosts, spread by sender",
    settings="mailframe_smarthosts.policy:SmarthostsSettings",
    builds="mailframe_smarthosts.policy:build",
)
