/** safetensors, manifests with hashes, atomic write, verified load, Hugging Face export. */
export {}
