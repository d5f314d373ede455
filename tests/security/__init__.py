"""Tests of what attackers try that belong to no single module; ``docs/security.rst`` names all."""
