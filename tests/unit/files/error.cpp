#include "tangram/error.hpp"

#include <gtest/gtest.h>

namespace tangram {
namespace {

TEST(Error, ShowsControlCharactersAndKeepsTheRest) {
    const Error error(ExitStatus::input, ErrorKind::non_finite,
                      std::string("tensor \x1b[31m\0\a\x7f: Straße\nline", 29));
    EXPECT_STREQ(error.what(), "tensor \\x1b[31m\\x00\\x07\\x7f: Straße\nline");
    EXPECT_EQ(error.status(), ExitStatus::input);
    EXPECT_EQ(error.kind(), ErrorKind::non_finite);
}

}  // namespace
}  // namespace tangram
