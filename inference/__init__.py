"""The model side: client, prompts, retrieval, knowledge, the embedded CPU server."""
