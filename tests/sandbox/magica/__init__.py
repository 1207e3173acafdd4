"""Tests of the sandbox's Magica face."""
