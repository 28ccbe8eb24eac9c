#pragma once
#include "tangram/error.hpp"
#include "tangram/model/factor_memory.hpp"

namespace tangram::testing {

/// A device's memory that counts the arrays that passes leave there and what somebody asks to come home.
class CountedMemory final : public FactorMemory {
  public:
    /// @param rooms  that there are
    /// @param taken  by others is the rest: it is an error, not none
    explicit CountedMemory(FactorMemory& memory, Index rooms = 1 << 30, bool taken = false)
        : memory_(memory), rooms_(rooms), taken_(taken) {}
    std::string device() const override { return memory_.device(); }
    RowsThere<float> room_for(float* home, Index rows, Index width) override {
        return counted(home, rows, width);
    }
    RowsThere<double> room_for(double* home, Index rows, Index width) override {
        return counted(home, rows, width);
    }
    void bring_home(const void* home) override { ++asked_for, memory_.bring_home(home); }
    void forget(const void* home) noexcept override { --left, memory_.forget(home); }
    Index left = 0, asked_for = 0;

  private:
    template <class Real>
    RowsThere<Real> counted(Real* home, Index rows, Index width) {
        if (left == rooms_ && taken_) throw Error(ExitStatus::numerical, ErrorKind::no_memory, "taken");
        if (left == rooms_) return {};
        const RowsThere<Real> there = memory_.room_for(home, rows, width);
        if (there.first != nullptr) ++left;
        return there;
    }
    FactorMemory& memory_;
    Index rooms_;
    bool taken_;
};

}  // namespace tangram::testing
