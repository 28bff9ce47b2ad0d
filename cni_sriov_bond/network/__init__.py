"""What a network config, and the arguments of an attachment, may say."""
