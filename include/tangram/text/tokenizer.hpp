#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// Token ids of one text with the bytes of the text that each came from.
struct Encoding {
    std::vector<std::int32_t> ids;
    /// Byte range [first, last) in the input; empty for tokens that stand for none of it (the
    /// post-processor's, a blank that the tokenizer puts in front). A character that falls back to bytes
    /// gives each byte token its own byte; a character that a normalizer replaced gives every piece of it its
    /// whole range.
    std::vector<std::pair<Index, Index>> bytes;
};

/// A tokenizer as tokenizer.json describes it: byte-level BPE (the families of GPT-2, RoBERTa, GPT-NeoX,
/// Llama 3 and Qwen2), BPE with byte fallback (LLaMA), WordPiece (BERT) and Unigram (XLM-RoBERTa, CamemBERT),
/// with added tokens, as Hugging Face's tokenizers do it. Local; encode() is const and keeps no state.
class Tokenizer {
  public:
    /// @param folder_or_file  a Hugging Face folder, or its tokenizer.json; tokenizer_config.json,
    ///                        special_tokens_map.json and added_tokens.json beside it are read too
    /// @throws Error(input) naming the file and the model, normalizer, pre-tokenizer or post-processor that
    ///         is not supported, the entry that is malformed, or the key of tokenizer_config.json that
    ///         contradicts tokenizer.json
    Tokenizer(const std::filesystem::path& folder_or_file, FilesRead& files);
    ~Tokenizer();
    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;

    /// O(n log n) in the bytes of the text. @throws Error(input) for a text that is not UTF-8
    Encoding encode(std::string_view text, bool add_special_tokens) const;
    /// An encoding without special tokens of a text of so many bytes, with them: what encode() gives.
    Encoding with_special_tokens(Encoding encoding, Index bytes) const;
    /// Special tokens that stand behind every text.
    const std::vector<std::int32_t>& suffix() const;
    /// Largest id + 1, added tokens included.
    Index vocabulary_size() const;
    /// The id of a token as the vocabulary writes it (a byte-level vocabulary writes a blank as U+0120).
    std::optional<std::int32_t> find(std::string_view token) const;
    /// The token's text as the vocabulary writes it; empty where there is none of this id.
    std::string token(std::int32_t id) const;
    /// The token of what the vocabulary does not spell, if it has one.
    std::optional<std::int32_t> unknown() const;
    /// The text of a masked model's mask token: tokenizer_config.json's or special_tokens_map.json's
    /// "mask_token" beside the file, else "[MASK]" or "<mask>" where one of them is a token.
    std::optional<std::string> mask_token() const;
    /// What a person should hear of the files: keys of tokenizer_config.json that nothing reads, ids that
    /// are others than the file says.
    const std::vector<std::string>& warnings() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tangram
