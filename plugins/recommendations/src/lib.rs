//! What a user may like: the products seen most, readable under `recommended/USER`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use nerve_sdk::prelude::*;

/// Products recommended to one user.
const TOP: usize = 3;
/// Products remembered for one user; the least seen makes room.
const REMEMBERED: usize = 100;
/// Whose events the faulty build can't take, unless `[config]` says otherwise.
#[cfg(feature = "broken")]
const FATAL_USER: &str = "mallory";

/// From outside: somebody looked at a product.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "product.viewed", key = "user")]
struct ProductViewed {
    user: String,
    product: String,
}

/// What is recommended to this user changed.
#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "recommendation.updated", key = "user")]
struct RecommendationUpdated {
    user: String,
    products: Vec<String>,
}

/// What applications read.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq)]
struct Recommended {
    /// What to show, the most seen first.
    products: Vec<String>,
    /// How many views this is made from.
    views: u64,
}

struct Recommendations;

#[plugin(emits(RecommendationUpdated), readable("recommended/"))]
impl Recommendations {
    #[on]
    fn viewed(ctx: &mut Context<Self>, event: Delivered<ProductViewed>) -> Result<(), Failure> {
        let ProductViewed { user, product } = event.into_data();
        #[cfg(feature = "broken")]
        fail_for(ctx, &user);

        let seen = ctx
            .state()
            .update(&format!("seen/{user}"), |seen: &mut BTreeMap<String, u64>| {
                if seen.len() >= REMEMBERED && !seen.contains_key(&product) {
                    let least = seen
                        .iter()
                        .min_by_key(|(_, views)| **views)
                        .map(|(product, _)| product.clone());
                    least.and_then(|product| seen.remove(&product));
                }
                *seen.entry(product).or_default() += 1;
            })?;
        let products = top(&seen);
        let key = format!("recommended/{user}");
        let old: Recommended = ctx.state().get(&key)?.unwrap_or_default();
        let changed = old.products != products;
        ctx.state().set(
            &key,
            &Recommended {
                products: products.clone(),
                views: old.views + 1,
            },
        )?;
        if changed {
            ctx.emit(&RecommendationUpdated { user, products })?;
        }
        Ok(())
    }
}

/// The most seen products; those seen equally often by name.
fn top(seen: &BTreeMap<String, u64>) -> Vec<String> {
    let mut ranked: Vec<_> = seen.iter().collect();
    ranked.sort_by_key(|(product, views)| (Reverse(**views), *product));
    ranked
        .into_iter()
        .take(TOP)
        .map(|(product, _)| product.clone())
        .collect()
}

/// The fault of the story: an assumption that one user's data breaks.
#[cfg(feature = "broken")]
fn fail_for(ctx: &Context<Recommendations>, user: &str) {
    let fatal = ctx.config("fatal_user").unwrap_or_else(|| FATAL_USER.to_owned());
    assert!(user != fatal, "no ranking for {user}: the weights sum up to zero");
}

#[cfg(test)]
mod tests;
