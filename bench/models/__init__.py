"""Backbones of timm, stems for n channels, UPerNet, initial values and weights."""
