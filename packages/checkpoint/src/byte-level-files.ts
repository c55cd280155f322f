/**
 * The characters that GPT-2's byte-level BPE writes for the bytes 0 … 255: printable ones stand for themselves, the others
 * follow from U+0100. @see Radford et al. 2019, `bytes_to_unicode` in encoder.py
 */
export function byteCharacters(): readonly string[] {
  const isPrintable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255)
  let next = 256
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(isPrintable(b) ? b : next++))
}

/** Tokenizer files for byte tokens (id = byte value, no merges), by file name: they load as a GPT-2 tokenizer. */
export function byteTokenizerFiles(context: number): Readonly<Record<string, string>> {
  const vocab = Object.fromEntries(byteCharacters().map((character, id) => [character, id]))
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
  return {
    'vocab.json': json(vocab),
    'merges.txt': '#version: 0.2\n',
    'tokenizer.json': json({
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [],
      normalizer: null,
      // Without the words of GPT-2's pattern: there are no merges that could cross them.
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: '',
        end_of_word_suffix: '',
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges: [],
      },
    }),
    'tokenizer_config.json': json({
      // No special tokens: GPT-2's own would be added behind the 256, where the model has no embedding.
      tokenizer_class: 'PreTrainedTokenizerFast',
      model_max_length: context,
      clean_up_tokenization_spaces: false,
    }),
  }
}
