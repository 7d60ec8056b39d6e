// What of the plug-in's use of cuDNN can be seen without a GPU.
#include <gtest/gtest.h>

#ifdef CORTEN_TEST_CUDNN

#include "cuda/plugin/convolutions.h"

namespace corten::cuda::test {
namespace {

// All functions are found where there is a library; an error is one line that names what is
// missing.
TEST(Cudnn, IsLoadedOrSaysWhatToInstall) {
  std::unique_ptr<Convolutions> convolutions;
  const Status status = make_convolutions(nullptr, convolutions);
  EXPECT_EQ(status.find('\n'), status.npos);
  if (status.starts_with("no cuDNN")) {
    EXPECT_NE(status.find("install"), status.npos) << status;
  } else if (!status.empty()) {
    EXPECT_TRUE(status.starts_with("cudnnCreate: ")) << status;
  }
  EXPECT_EQ(convolutions == nullptr, !status.empty());
}

}  // namespace
}  // namespace corten::cuda::test

#endif
