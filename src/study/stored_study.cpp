#include "tangram/study/stored_study.hpp"

#include <fmt/format.h>

#include "tangram/study/configuration.hpp"

namespace tangram {

std::string stored_study(const Hdf5File& file, const std::filesystem::path& name) {
    const std::string text = file.text_attribute("/provenance", "study");
    try {
        study_keys(text);
    } catch (const Error& e) {
        throw Error(ExitStatus::output, fmt::format("{}: {}", name.string(), e.what()));
    }
    return text;
}

}  // namespace tangram
