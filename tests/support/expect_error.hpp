#pragma once
#include <gtest/gtest.h>

#include <string>

#include "tangram/error.hpp"

namespace tangram::testing {

/// Runs `work` and expects an Error of this status whose message holds every one of the words.
template <class Work>
void expect_error(ExitStatus status, std::initializer_list<std::string> words, Work work) {
    try {
        work();
    } catch (const Error& e) {
        EXPECT_EQ(e.status(), status) << e.what();
        for (const std::string& word : words)
            EXPECT_NE(std::string(e.what()).find(word), std::string::npos)
                << word << " is not in: " << e.what();
        return;
    } catch (const std::exception& e) {
        ADD_FAILURE() << "another exception: " << e.what();
        return;
    }
    ADD_FAILURE() << "nothing was thrown";
}

/// Of this kind too.
template <class Work>
void expect_error(ExitStatus status, ErrorKind kind, std::initializer_list<std::string> words, Work work) {
    expect_error(status, words, [&] {
        try {
            work();
        } catch (const Error& e) {
            EXPECT_EQ(e.kind(), kind) << e.what();
            throw;
        }
    });
}

}  // namespace tangram::testing
