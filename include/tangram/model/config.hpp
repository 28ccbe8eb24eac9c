#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/files/files_read.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// A Hugging Face config.json whose keys are read by name and type. Every function throws Error(input) that
/// names the file and the key where the key is missing (without a default), of another type, or not positive
/// or larger than any model's where it is a size.
class Config {
  public:
    Config(const std::filesystem::path& file, FilesRead& files);

    std::string text(const std::string& key) const;
    std::string text(const std::string& key, const std::string& otherwise) const;
    Index size(const std::string& key) const;                   ///< a positive integer
    Index size(const std::string& key, Index otherwise) const;  ///< where missing or null: otherwise
    static Index largest(const std::string& key);               ///< that size() takes
    double number(const std::string& key) const;
    double number(const std::string& key, double otherwise) const;
    bool flag(const std::string& key, bool otherwise) const;
    bool has(const std::string& key) const;    ///< present and not null
    bool names(const std::string& key) const;  ///< present, null or not
    const nlohmann::json& at(const std::string& key) const;

    /// Throws Error(input): "<file>: <key> = <value> is not supported; <what is>".
    [[noreturn]] void refuse(ErrorKind kind, const std::string& key, const std::string& supported) const;

  private:
    std::filesystem::path file_;
    nlohmann::json values_;
};

}  // namespace tangram
