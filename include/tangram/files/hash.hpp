#pragma once
#include <memory>
#include <span>
#include <string>

namespace tangram {

/// SHA-256 of bytes that come in pieces. Local.
class Sha256 {
  public:
    Sha256();
    void add(std::span<const std::byte> bytes);
    /// Of all that was added; the object is spent.
    std::string hexadecimal();

  private:
    std::unique_ptr<void, void (*)(void*)> context_;
};

/// SHA-256 in hexadecimal. Local.
std::string sha256_of_bytes(std::span<const std::byte> bytes);

}  // namespace tangram
