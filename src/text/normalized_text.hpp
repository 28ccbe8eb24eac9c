#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// Bytes or tokens [first, last).
using Range = std::pair<Index, Index>;

/// A stretch of the input, perhaps changed, that knows for each of its bytes which bytes of the input it came
/// from: its own where nothing changed, the whole of what was replaced, an empty range where something was
/// put in.
class NormalizedText {
  public:
    /// The input from byte `start` on, unchanged.
    NormalizedText(std::string_view text, Index start) : text_(text), start_(start) {
        for (Index b = 0; b < std::ssize(text_); ++b) sources_.emplace_back(start + b, start + b + 1);
    }

    const std::string& text() const { return text_; }
    Index start() const { return start_; }  ///< byte of the input at which the stretch begins

    /// Bytes of the input that a range of this text came from.
    Range source(Range bytes) const {
        if (bytes.first == bytes.second) return {start_, start_};
        return {sources_[static_cast<std::size_t>(bytes.first)].first,
                sources_[static_cast<std::size_t>(bytes.second - 1)].second};
    }

    NormalizedText part(Range bytes) const {
        NormalizedText result(std::string_view(), source(bytes).first);
        result.text_ = text_.substr(static_cast<std::size_t>(bytes.first),
                                    static_cast<std::size_t>(bytes.second - bytes.first));
        result.sources_.assign(sources_.begin() + bytes.first, sources_.begin() + bytes.second);
        return result;
    }

    void prepend(std::string_view front) {
        const Index at = sources_.empty() ? start_ : sources_.front().first;
        std::string text(front);
        text += text_;
        text_ = std::move(text);
        sources_.insert(sources_.begin(), front.size(), Range(at, at));
    }

    /// Every occurrence of `pattern` (not empty), from the left, by `content`.
    void replace(std::string_view pattern, std::string_view content) {
        auto found = text_.find(pattern);
        if (found == std::string::npos) return;
        std::string text;
        std::vector<Range> sources;
        std::size_t done = 0;
        const auto keep = [&](std::size_t until) {
            text.append(text_, done, until - done);
            sources.insert(sources.end(), sources_.begin() + static_cast<Index>(done),
                           sources_.begin() + static_cast<Index>(until));
        };
        for (; found != std::string::npos; found = text_.find(pattern, done)) {
            keep(found);
            done = found + pattern.size();
            text += content;
            sources.insert(sources.end(), content.size(),
                           Range(sources_[found].first, sources_[done - 1].second));
        }
        keep(text_.size());
        text_ = std::move(text);
        sources_ = std::move(sources);
    }

  private:
    std::string text_;
    Index start_;
    std::vector<Range> sources_;  // one per byte, both ends ascending
};

}  // namespace tangram
