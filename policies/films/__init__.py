"""What people look at: films of episodes, a window to watch in, pictures of data sets."""
