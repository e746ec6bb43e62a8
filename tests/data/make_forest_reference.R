# Writes what randomForest makes of two made-up tables:
#   forest_rows.csv        600 rows of ten features of graded effect, and their target
#   forest_importance.csv  importance of each feature and out-of-bag R2 of forests with the defaults, five seeds
#   small_rows.csv         80 rows of four features, their target, and their out-of-bag prediction by 10 trees
#   small_trees.csv        the nodes of these trees, numbered from 1; feature 0 marks a leaf
#   small_bags.csv         whether each tree learned from each row
#   small_importance.csv   importance of each feature to these trees, of 2000 permutations, and out-of-bag R2
# Run in this folder: Rscript make_forest_reference.R
library(randomForest)

write <- function(data, name) {
  numbers <- vapply(data, is.double, TRUE)
  data[numbers] <- lapply(data[numbers], function(one) format(one, digits = 15, trim = TRUE, drop0trailing = TRUE))
  write.csv(data, name, row.names = FALSE, quote = FALSE)
}
gathered <- function(fit, seed) {
  data.frame(
    seed = seed, feature = rownames(fit$importance), inc_mse = importance(fit)[, 1],
    increase = importance(fit, scale = FALSE)[, 1], inc_node_purity = importance(fit)[, 2], oob_r2 = tail(fit$rsq, 1))
}

set.seed(20200831)
n <- 600
rows <- data.frame(
  rain = rgamma(n, 2, scale = 30), lst = rnorm(n, 290, 8), ndvi = runif(n), sand = runif(n, 10, 70),
  elevation = rexp(n, 1 / 400), northness = runif(n, -1, 1), noise = rnorm(n)
)
rows$evi <- 0.6 * rows$ndvi + rnorm(n, 0, 0.05)
rows$clay <- 80 - rows$sand + rnorm(n, 0, 8)
rows$forest <- pmin(1, pmax(0, rnorm(n, 0.1, 0.4)))
rows$moisture <- 0.12 + 0.0008 * rows$rain - 0.002 * (rows$lst - 290) + 0.05 * sin(6 * rows$ndvi) -
  0.0008 * rows$sand - 0.00001 * rows$elevation + 0.03 * rows$forest + rnorm(n, 0, 0.01)
rows <- round(rows, 5)
write(rows, "forest_rows.csv")
forests <- lapply(1:5, function(seed) {
  set.seed(seed)
  gathered(randomForest(moisture ~ ., rows, importance = TRUE), seed)
})
write(do.call(rbind, forests), "forest_importance.csv")

small <- rows[1:80, c("rain", "lst", "ndvi", "noise", "moisture")]
set.seed(1)
fit <- randomForest(moisture ~ ., small, ntree = 10, mtry = 2, importance = TRUE, nPerm = 2000, keep.inbag = TRUE)
small$predicted <- fit$predicted
write(small, "small_rows.csv")
trees <- lapply(1:10, function(tree) {
  nodes <- as.data.frame(getTree(fit, tree))
  data.frame(
    tree = tree, left = as.integer(nodes[, 1]), right = as.integer(nodes[, 2]), feature = as.integer(nodes[, 3]),
    threshold = nodes[, 4], value = nodes[, 6])
})
write(do.call(rbind, trees), "small_trees.csv")
write(as.data.frame(fit$inbag), "small_bags.csv")
write(gathered(fit, 1), "small_importance.csv")
cat(R.version.string, "randomForest", as.character(packageVersion("randomForest")), "\n")
