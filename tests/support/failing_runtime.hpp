#pragma once
#include <algorithm>
#include <map>
#include <memory>

#include "../src/device/host_executor.hpp"
#include "tangram/error.hpp"

namespace tangram::testing {

/// A device that fails once it has done `good` calls.
class FailingRuntime final : public device::Runtime {
  public:
    /// @param memory   bytes of it
    /// @param largest  set to the bytes of the largest part of its memory that was asked for
    /// @param held     counts the parts that are not given back, of its memory and of the host's
    /// @param pinned   set to the most bytes of the host's memory that it had at once
    /// @param open     as host_runtime() has messages_reach_it
    explicit FailingRuntime(Index good, double memory = 0x1p40, double* largest = nullptr,
                            Index* held = nullptr, double* pinned = nullptr, bool open = false)
        : good_(good),
          largest_(largest),
          held_(held),
          pinned_(pinned),
          host_(device::host_runtime(memory, open)) {}
    std::string name() const override { return "GPU 3 of node17"; }
    std::byte* allocate(device::Memory of, std::size_t bytes) override {
        call(ErrorKind::no_memory);
        if (largest_ != nullptr && of == device::Memory::device)
            *largest_ = std::max(*largest_, static_cast<double>(bytes));
        std::byte* const memory = host_->allocate(of, bytes);
        if (held_ != nullptr) ++*held_;
        if (pinned_ != nullptr && of == device::Memory::pinned) {
            pinned_parts_[memory] = static_cast<double>(bytes);
            double all = 0;
            for (const auto& [at, part] : pinned_parts_) all += part;
            *pinned_ = std::max(*pinned_, all);
        }
        return memory;
    }
    void release(device::Memory of, std::byte* memory) noexcept override {
        pinned_parts_.erase(memory);
        if (held_ != nullptr) --*held_;
        host_->release(of, memory);
    }
    void copy(std::byte* to, const std::byte* from, std::size_t bytes, device::Stream in) override {
        call(ErrorKind::library), host_->copy(to, from, bytes, in);
    }
    void clear(std::byte* memory, std::size_t bytes, device::Stream in) override {
        call(ErrorKind::library), host_->clear(memory, bytes, in);
    }
    Index at_once() const override { return host_->at_once(); }
    void add_products(const device::BlockWork<float>* works, Index count, int* begun) override {
        call(ErrorKind::library), host_->add_products(works, count, begun);
    }
    void add_products(const device::BlockWork<double>* works, Index count, int* begun) override {
        call(ErrorKind::library), host_->add_products(works, count, begun);
    }
    void add_factors(const device::FactorWork<float>* works, Index count) override {
        call(ErrorKind::library), host_->add_factors(works, count);
    }
    void add_factors(const device::FactorWork<double>* works, Index count) override {
        call(ErrorKind::library), host_->add_factors(works, count);
    }
    void add_matches(const device::MatchWork<float>* works, Index count) override {
        call(ErrorKind::library), host_->add_matches(works, count);
    }
    void add_matches(const device::MatchWork<double>* works, Index count) override {
        call(ErrorKind::library), host_->add_matches(works, count);
    }
    void let_follow(device::Stream later, device::Stream earlier) override {
        call(ErrorKind::library), host_->let_follow(later, earlier);
    }
    void wait(device::Stream stream) override { call(ErrorKind::library), host_->wait(stream); }
    void multiply_out(const device::OuterWork<float>* blocks, Index count) override {
        call(ErrorKind::library), host_->multiply_out(blocks, count);
    }
    void multiply_out(const device::OuterWork<double>* blocks, Index count) override {
        call(ErrorKind::library), host_->multiply_out(blocks, count);
    }
    void pack_tokens(const device::TokenWork<float>* blocks, Index count) override {
        call(ErrorKind::library), host_->pack_tokens(blocks, count);
    }
    void pack_tokens(const device::TokenWork<double>* blocks, Index count) override {
        call(ErrorKind::library), host_->pack_tokens(blocks, count);
    }
    void launch(const device::NetworkKernel<float>& kernel) override {
        call(ErrorKind::library), host_->launch(kernel);
    }
    void launch(const device::NetworkKernel<double>& kernel) override {
        call(ErrorKind::library), host_->launch(kernel);
    }

  private:
    void call(ErrorKind kind) {
        if (good_-- <= 0) throw Error(ExitStatus::numerical, kind, name() + " failed");
    }
    Index good_;
    double* largest_;
    Index* held_;
    double* pinned_;
    std::map<std::byte*, double> pinned_parts_;
    std::unique_ptr<device::Runtime> host_;
};

}  // namespace tangram::testing
