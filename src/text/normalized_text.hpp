#pragma once
#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// Bytes or tokens [first, last).
using Range = std::pair<Index, Index>;

/// How much a tokenizer's normalizers and pre-tokenizers may still add to one input: real ones add a few
/// bytes per byte, those that double it again and again would take all memory.
class Growth {
  public:
    /// @param file  that messages name; it must outlive this
    Growth(std::string_view input, std::string_view file)
        : file_(file), size_(std::ssize(input)), left_(64 * size_ + 65536) {}

    /// @throws Error(input) naming the file where what was added passes 64 times the input and 64 KiB
    void add(Index bytes) {
        left_ -= bytes;
        if (left_ < 0)
            throw Error(
                ExitStatus::input, ErrorKind::out_of_range,
                fmt::format("{}: normalizer and pre_tokenizer add more than {} bytes to a text of {}; "
                            "take the tokenizer as it was published",
                            file_, 64 * size_ + 65536, size_));
    }

  private:
    std::string_view file_;
    Index size_, left_;
};

/// A stretch of the input, perhaps changed, that knows for each of its bytes which bytes of the input it came
/// from: its own where nothing changed, the whole of what was replaced, an empty range where something was
/// put in.
class NormalizedText {
  public:
    /// The input from byte `start` on, unchanged. @param growth  shared by all stretches of the input; it
    /// must outlive them
    NormalizedText(std::string_view text, Index start, Growth& growth)
        : text_(text), start_(start), growth_(&growth) {
        sources_.reserve(text.size());
        for (Index b = 0; b < std::ssize(text_); ++b) sources_.emplace_back(start + b, start + b + 1);
    }

    const std::string& text() const { return text_; }
    std::string_view text(Range bytes) const {
        return std::string_view(text_).substr(static_cast<std::size_t>(bytes.first),
                                              static_cast<std::size_t>(bytes.second - bytes.first));
    }
    Index size() const { return std::ssize(text_); }
    Index start() const { return start_; }  ///< byte of the input at which the stretch begins

    /// Bytes of the input that a range of this text came from.
    Range source(Range bytes) const {
        if (bytes.first == bytes.second) return {start_, start_};
        return {sources_[static_cast<std::size_t>(bytes.first)].first,
                sources_[static_cast<std::size_t>(bytes.second - 1)].second};
    }

    NormalizedText part(Range bytes) const {
        NormalizedText result(std::string_view(), source(bytes).first, *growth_);
        result.append(*this, bytes);
        return result;
    }

    void prepend(std::string_view front) {
        growth_->add(std::ssize(front));
        const Index at = sources_.empty() ? start_ : sources_.front().first;
        std::string longer;
        longer.reserve(front.size() + text_.size());
        longer.append(front).append(text_);
        text_ = std::move(longer);
        sources_.insert(sources_.begin(), front.size(), Range(at, at));
    }

    /// Changes the text piece by piece, in order. @param piece  called with the byte at which a piece begins
    /// and an empty string; says what the piece becomes and returns where it ends (behind its beginning)
    template <class Piece>
    void rewrite(const Piece& piece) {
        NormalizedText result(std::string_view(), start_, *growth_);
        result.text_.reserve(text_.size());
        result.sources_.reserve(sources_.size());
        std::string becomes;
        for (Range old(0, 0); old.first < size(); old.first = old.second) {
            becomes.clear();
            old.second = piece(old.first, becomes);
            if (becomes == text(old)) {
                result.append(*this, old);
            } else {
                growth_->add(std::max(std::ssize(becomes) - (old.second - old.first), Index{0}));
                result.text_ += becomes;
                result.sources_.insert(result.sources_.end(), becomes.size(), source(old));
            }
        }
        *this = std::move(result);
    }

  private:
    void append(const NormalizedText& other, Range bytes) {
        text_ += other.text(bytes);
        sources_.insert(sources_.end(), other.sources_.begin() + bytes.first,
                        other.sources_.begin() + bytes.second);
    }

    std::string text_;
    Index start_;
    Growth* growth_;
    std::vector<Range> sources_;  // one per byte, both ends ascending
};

}  // namespace tangram
