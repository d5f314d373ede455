"""The drop-in: names only. Nothing else is imported before the plugin is chosen."""

from mailframe.plugin import Part

subaddresses = Part(
    seam="routing",
    name="subaddresses",
    help="mail for mary+lists is for mary",
    settings="subaddresses:SubaddressSettings",
    builds="subaddresses:build",
)
