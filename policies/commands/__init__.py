"""The commands of `vtinsert`: each module holds the function of its name."""
