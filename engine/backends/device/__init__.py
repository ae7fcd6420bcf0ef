"""Backends that run on an NVIDIA GPU: one core (crop, launch, wait), and a file for each runtime that it drives."""
