SELECT   hit.id, hit.text, hit.score
FROM     search({arguments}) AS hit
ORDER BY hit.rank_after;
