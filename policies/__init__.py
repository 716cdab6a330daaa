"""Acting: policies trained on embeddings, evaluation, reports and the `vtinsert` command."""
