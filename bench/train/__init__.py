"""Two stories, each whole in one file: pre-training and fine-tuning; beside them what they share."""
