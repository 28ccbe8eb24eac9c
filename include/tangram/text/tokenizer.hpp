#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// Token ids of one text with the bytes of the text that each came from.
struct Encoding {
    std::vector<std::int32_t> ids;
    /// Byte range [first, last) in the input; empty for tokens that the post-processor added. A character that falls
    /// back to bytes gives each byte token its own byte.
    std::vector<std::pair<Index, Index>> bytes;
};

/// A tokenizer as tokenizer.json describes it: byte-level BPE (the GPT-2 family) and BPE with byte fallback (the LLaMA
/// family), with added tokens, as Hugging Face's tokenizers do it. Local; encode() is const and keeps no state.
class Tokenizer {
  public:
    /// @throws Error(input) naming the file and the model, normalizer, pre-tokenizer or post-processor that is not
    ///         supported, or the entry that is malformed
    explicit Tokenizer(const std::filesystem::path& file);
    ~Tokenizer();
    Tokenizer(Tokenizer&&) noexcept;

    /// @param text  UTF-8
    Encoding encode(std::string_view text, bool add_special_tokens) const;
    /// Largest id + 1, added tokens included.
    Index vocabulary_size() const;
    /// The token's text as the vocabulary writes it; empty where there is none of this id.
    std::string token(std::int32_t id) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tangram
