# Writes svm_e1071.csv: rows of a made-up table and what e1071::svm with its defaults predicts of them.
# Run in this folder: Rscript make_r_reference.R
library(e1071)

set.seed(20200831)
n <- 400
data <- data.frame(
  rain = round(rgamma(n, 2, scale = 30), 3),
  lst = round(rnorm(n, 290, 8), 3),
  ndvi = round(runif(n), 5),
  sand = round(runif(n, 10, 70), 3),
  slope = round(rexp(n, 0.5), 4)
)
data$moisture <- round(
  0.12 + 0.0008 * data$rain - 0.002 * (data$lst - 290) + 0.05 * sin(6 * data$ndvi) - 0.0005 * data$sand +
    rnorm(n, 0, 0.01), 6)
train <- 1:300

fit <- svm(moisture ~ ., data[train, ])
tuned <- svm(moisture ~ ., data[train, ],
  cost = 10, gamma = 0.05, epsilon = 0.02, tolerance = 1e-8)
data$default <- predict(fit, data)
data$tuned <- predict(tuned, data)
data$train <- as.integer(seq_len(n) %in% train)
write.csv(format(data, digits = 12, trim = TRUE), "svm_e1071.csv", row.names = FALSE, quote = FALSE)
cat(R.version.string, "e1071", as.character(packageVersion("e1071")), "support vectors", fit$tot.nSV, tuned$tot.nSV, "\n")
