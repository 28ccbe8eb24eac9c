#pragma once
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/files/files_read.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// A JSON file of settings (config.json, adapter_config.json) whose keys are read by name and type. It knows
/// which keys it was asked for: what is left is judged by check_unread (model/unread_keys.hpp). Every
/// function throws Error(input) that names the file and the key where the key is missing (without a default),
/// of another type, not finite, or not positive or larger than any model's where it is a size.
class Config {
  public:
    Config(const std::filesystem::path& file, FilesRead& files);
    /// The same of values that stand in no file.
    Config(const std::filesystem::path& name, nlohmann::json values);

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
    /// The object under a key, whose keys are "<key>.<its own>" in messages and records.
    Config inside(const std::string& key) const;

    /// An older or newer name of a key whose value stands under it already: where both are there, they agree.
    template <class Value>
    void expect(const std::string& other_name, const std::string& key, const Value& value) const {
        if (has(other_name) && at(other_name) != value) refuse_disagreement(other_name, key);
    }

    /// Throws Error(input): "<file>: <key> = <value> is not supported; <what is>".
    [[noreturn]] void refuse(ErrorKind kind, const std::string& key, const std::string& supported) const;

    /// The key as messages name it: with the object that it stands in.
    std::string full(const std::string& key) const { return prefix_ + key; }
    /// Something that a person should know of how the file was read: "<file>: <text>".
    void note(const std::string& text) const;
    const std::vector<std::string>& notes() const { return record_->notes; }
    /// Keys that were asked for, in full; those of nested objects as "rope_scaling.factor".
    const std::set<std::string, std::less<>>& asked() const { return record_->asked; }
    const nlohmann::json& values() const { return values_; }
    const std::filesystem::path& file() const { return file_; }

  private:
    struct Record {
        std::set<std::string, std::less<>> asked;
        std::vector<std::string> notes;
    };

    [[noreturn]] void refuse_disagreement(const std::string& other_name, const std::string& key) const;
    [[noreturn]] void bad_key(ErrorKind kind, const std::string& key, const std::string& problem) const;

    std::filesystem::path file_;
    nlohmann::json values_;
    std::string prefix_;  // of a nested object: "rope_scaling."
    std::shared_ptr<Record> record_ = std::make_shared<Record>();
};

}  // namespace tangram
