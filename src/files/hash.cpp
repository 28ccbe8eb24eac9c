#include "tangram/files/hash.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>
#include <vector>

#include "tangram/error.hpp"

namespace tangram {

namespace {

class Sha256 {
  public:
    Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
    }
    void add(const void* bytes, std::size_t size) {
        check(EVP_DigestUpdate(context_.get(), bytes, size) == 1);
    }
    std::string hexadecimal() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
        unsigned int size = 0;
        check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
        std::string text;
        for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
        return text;
    }

  private:
    static void check(bool done) {
        if (!done) throw Error(ExitStatus::input, "OpenSSL cannot compute SHA-256 on this machine");
    }
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256_of_files(std::span<const std::filesystem::path> files) {
    Sha256 hash;
    std::vector<char> buffer(1 << 20);
    for (const std::filesystem::path& file : files) {
        std::ifstream stream(file, std::ios::binary);
        if (!stream)
            throw Error(ExitStatus::input, fmt::format("{}: cannot be read; check the path", file.string()));
        while (stream.read(buffer.data(), std::ssize(buffer)) || stream.gcount() > 0)
            hash.add(buffer.data(), static_cast<std::size_t>(stream.gcount()));
        if (stream.bad()) throw Error(ExitStatus::input, fmt::format("{}: reading failed", file.string()));
    }
    return hash.hexadecimal();
}

std::string sha256_of_bytes(std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.add(bytes.data(), bytes.size());
    return hash.hexadecimal();
}

}  // namespace tangram
