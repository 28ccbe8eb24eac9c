#pragma once
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "support/unrecorded.hpp"
#include "tangram/files/json.hpp"
#include "tangram/model/architectures.hpp"
#include "tangram/model/network.hpp"
#include "tangram/text/data_set.hpp"

namespace tangram::testing {

/// A model folder with its stored reference: outputs and gradients of several vocabulary ids at the token
/// that is read, from an independent implementation (tools/reference/model_fixtures.py).
struct ModelFixture {
    std::filesystem::path folder;
    nlohmann::json reference;

    std::vector<std::int32_t> vocabulary_ids() const {
        return reference.at("vocab_ids").get<std::vector<std::int32_t>>();
    }
    /// The fixture's examples as a data set, labels all zero.
    DataSet data() const {
        DataSet set;
        for (const auto& example : reference.at("examples")) {
            set.append(example.at("ids").get<std::vector<std::int32_t>>(), 0, set.examples());
            if (example.contains("read")) set.reads.push_back(example["read"].get<std::int32_t>());
        }
        return set;
    }
    /// A folder named *-classifier holds a new classifier of the fixture's outputs, *-trained a trained one.
    Program program() const {
        const std::string name = folder.filename().string();
        const Config config(folder / "config.json", Unrecorded());
        if (name.ends_with("-trained"))
            return program_with_trained_head(config, std::ssize(trained_labels(config)));
        const bool classifier = name.ends_with("-classifier");
        return program_of(config,
                          classifier ? std::optional<Index>(std::ssize(vocabulary_ids())) : std::nullopt);
    }
};

/// Of these sources, or where TANGRAM_TEST_DATA names them: on a machine that has them elsewhere.
inline std::filesystem::path test_data() {
    const char* const elsewhere = std::getenv("TANGRAM_TEST_DATA");
    return elsewhere != nullptr ? elsewhere : TANGRAM_TEST_DATA;
}

/// The folder that TANGRAM_MODELS names, where it is set.
inline std::optional<std::filesystem::path> shared_models() {
    const char* const folder = std::getenv("TANGRAM_MODELS");
    if (folder == nullptr) return std::nullopt;
    return std::filesystem::path(folder);
}

}  // namespace tangram::testing
