#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tangram/files/hash.hpp"

namespace tangram {

/// What a stage's result is made from, by the names that a user knows: two results of equal inputs are equal.
class Inputs {
  public:
    /// Long values are known by their hash.
    Inputs& add(const std::string& name, const std::string& value);
    template <class T>
    Inputs& add(const std::string& name, const std::vector<T>& values) {
        return add(name, sha256_of_bytes(std::as_bytes(std::span(values))));
    }
    /// A line "name = value" for each.
    const std::string& text() const noexcept { return text_; }
    /// Of the text, SHA-256.
    std::string hash() const;

  private:
    std::string text_;
};

/// The first line in which the texts of two Inputs differ: "kernel.output is margin there and logits here".
std::optional<std::string> difference(const std::string& there, const std::string& here);

}  // namespace tangram
