#include "tangram/files/hash.hpp"

#include <gtest/gtest.h>

#include <string>

namespace tangram {
namespace {

// FIPS 180-4's examples, as `printf abc | sha256sum` prints them.
constexpr const char* of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* of_a_million_a = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Hash, OfBytes) {
    EXPECT_EQ(sha256_of_bytes(std::as_bytes(std::span("abc", 3))), of_abc);
    EXPECT_EQ(sha256_of_bytes({}), of_nothing);
}

TEST(Hash, OfPiecesIsOfTheirBytesOneAfterTheOther) {
    const auto of = [](std::initializer_list<std::string> pieces) {
        Sha256 hash;
        for (const std::string& piece : pieces) hash.add(std::as_bytes(std::span(piece)));
        return hash.hexadecimal();
    };
    EXPECT_EQ(of({}), of_nothing);
    EXPECT_EQ(of({"a", "", "bc"}), of_abc);
    EXPECT_EQ(of({std::string(500'000, 'a'), std::string(500'000, 'a')}), of_a_million_a);
}

}  // namespace
}  // namespace tangram
