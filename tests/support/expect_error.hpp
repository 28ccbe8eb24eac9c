#pragma once
#include <gtest/gtest.h>

#include <string>

#include "tangram/error.hpp"

namespace tangram::testing {

/// Runs `work` and expects an Error of this status and kind whose message holds every one of the names: a
/// file, key, tensor, line or value, never prose.
template <class Work>
void expect_error(ExitStatus status, ErrorKind kind, std::initializer_list<std::string> names, Work work) {
    try {
        work();
    } catch (const Error& e) {
        EXPECT_EQ(e.status(), status) << e.what();
        EXPECT_EQ(e.kind(), kind) << e.what();
        for (const std::string& name : names)
            EXPECT_NE(std::string(e.what()).find(name), std::string::npos)
                << name << " is not in: " << e.what();
        return;
    } catch (const std::exception& e) {
        ADD_FAILURE() << "another exception: " << e.what();
        return;
    }
    ADD_FAILURE() << "nothing was thrown";
}

}  // namespace tangram::testing
