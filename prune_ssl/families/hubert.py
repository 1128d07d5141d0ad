"""HuBERT (Hsu et al., TASLP 2021)."""

from prune_ssl.families.family import Family

HUBERT = Family(name="hubert", library="transformers", stem="Hubert")
