"""What `vtinsert pretrain` trains on: its plan, its options, and data rendered as it goes."""
