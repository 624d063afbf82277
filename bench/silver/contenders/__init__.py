"""What ours is measured against, each as somebody would write it who starts from the library's tutorial."""
