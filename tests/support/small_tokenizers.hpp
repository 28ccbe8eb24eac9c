#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/text/tokenizer.hpp"

namespace tangram::testing {

using Ids = std::vector<std::int32_t>;
using Bytes = std::vector<std::pair<Index, Index>>;

/// Small tokenizers by hand.
class SmallTokenizers : public ::testing::Test {
  protected:
    /// A tokenizer.json with this model and these further parts (each with its comma behind it).
    Tokenizer make(const std::string& model, const std::string& parts = "") const {
        return Tokenizer(folder_.write("tokenizer.json", "{" + parts + "\"model\":" + model + "}"),
                         Unrecorded());
    }
    void refused(ErrorKind kind, const std::string& json, const std::string& name) const {
        expect_error(ExitStatus::input, kind, {"tokenizer.json", name},
                     [&] { Tokenizer tokenizer(folder_.write("tokenizer.json", json), Unrecorded()); });
    }
    static std::string added(const std::string& content, int id, const std::string& flags) {
        return R"("added_tokens":[{"id":)" + std::to_string(id) + R"(,"content":")" + content + "\"" + flags +
               "}],";
    }
    TemporaryFolder folder_;
    const std::string letters_ = R"({"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3,"bc":4," ":5,"abc":6},)";
};

}  // namespace tangram::testing
